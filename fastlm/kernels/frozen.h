/* What a query of a frozen window model takes: rows of its tables added up, and one multiplied. */
#ifndef FASTLM_FROZEN_H
#define FASTLM_FROZEN_H

#include "vector.h"

#if defined(__GNUC__) || defined(__clang__)
#define fastlm_fetch_line(address) __builtin_prefetch(address)
#else
#define fastlm_fetch_line(address) ((void) (address))
#endif

#define ENTRY float
#define NAMED(name) name##_f32
#define VALUE(entry, row) (entry)
#include "frozen_rows.h"
#undef ENTRY
#undef NAMED
#undef VALUE

#define ENTRY int8_t
#define NAMED(name) name##_i8
#define VALUE(entry, row) (scales[row] * (float)(entry))
#include "frozen_rows.h"
#undef ENTRY
#undef NAMED
#undef VALUE

#endif

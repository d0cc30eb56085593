"""Counter-based random numbers: the i-th number of a key is computed, not drawn, so nothing is kept."""


cdef inline unsigned long long random_bits(unsigned long long key, unsigned long long counter) noexcept nogil:
    """64 bits of splitmix64 (Steele et al. 2014) at position `counter` of the sequence that starts at `key`."""
    cdef unsigned long long z = key + (counter + 1) * <unsigned long long>0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * <unsigned long long>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <unsigned long long>0x94D049BB133111EB
    return z ^ (z >> 31)

"""What one does with a trained model: measure, score, predict, generate, compare words.

Everything here is written against `fastlm.inference.interface.Model`, and takes any object that has it.
"""

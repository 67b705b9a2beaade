"""The operators' own figures: a day of samples, and which alerts follow from them."""

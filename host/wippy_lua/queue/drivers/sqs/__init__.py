"""Amazon SQS: `driver.py` is the seam, `wire.py` the stored format."""

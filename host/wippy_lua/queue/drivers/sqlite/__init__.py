"""An SQLite file that processes of one machine share: `driver.py` is the seam."""

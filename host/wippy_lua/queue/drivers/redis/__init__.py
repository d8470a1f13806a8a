"""Redis streams: `driver.py` is the seam, `script.lua` what the server does in one step."""

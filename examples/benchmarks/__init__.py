"""Time and memory of every loss beside the best that can be hoped for and beside other libraries; see __main__.py."""

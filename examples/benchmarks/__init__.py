"""Time and memory of every loss, compared with a practical limit and with other libraries; see __main__.py."""

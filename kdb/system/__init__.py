"""The host: threads, memory allocation, Ctrl-C, progress bars, atomic writes, and the cache folder."""

"""The host: threads, memory allocation, Ctrl-C, progress bars, atomic writes, the cache folder, and limits on files."""

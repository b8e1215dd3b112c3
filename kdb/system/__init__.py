"""The host beneath: threads, freed memory, Ctrl-C, and files that are kept between processes."""

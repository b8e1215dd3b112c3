"""All that is to be known of kdb on a GPU, in one command of six and a half minutes.

Wherever it is cut off, what it had measured is in the report.

Sections run in the order of their weight, each in a process of its own, so that an illegal memory access, which spoils
every later call of its process, ends only its own section.  A row is in the report as soon as it is measured.
"""

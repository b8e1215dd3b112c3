"""Pictures of heat maps: colours, fonts, captions, figures, and pages for notebooks.

matplotlib is imported when it is needed, and by this folder alone.  Only its object-oriented interface is used, so that
no global state changes.
"""

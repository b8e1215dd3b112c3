"""The page: a query, its image and its map on a screen, in a browser (``kdb ui``) or a notebook (``kdb.widget``)."""

"""What statements give: heat maps, tables, and the files and pictures of them."""

"""From text to a frozen syntax tree; nothing is looked up."""

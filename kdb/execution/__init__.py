"""Running plans: the engine, its workers, the views it keeps, and the settings it goes by."""

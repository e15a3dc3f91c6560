// Placeholder until this room's first code arrives.

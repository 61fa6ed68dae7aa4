"""How one question reaches its model: its turn, its tries, its stamps, and several models behind one answer."""

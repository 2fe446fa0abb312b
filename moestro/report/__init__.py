"""Plans for people: text, JSON and one self-contained HTML page. Pure; nothing here computes a figure."""

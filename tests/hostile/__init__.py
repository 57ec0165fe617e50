"""Cases that do all they can to trip the SDK: each answers as without us and leaves its runs."""

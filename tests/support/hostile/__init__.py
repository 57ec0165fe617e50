"""Cases that try to trip the SDK: each must answer as without us and leave its runs."""

"""Cases that try to break the SDK: each must behave as if untraced and leave its runs."""

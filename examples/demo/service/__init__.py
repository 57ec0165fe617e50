"""A small HTTP service with three real models. The demo runs and edits a copy of this folder.

The modules use relative imports because the copy has a different package name.
"""

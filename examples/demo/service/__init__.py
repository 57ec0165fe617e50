"""A small HTTP service of three real models. The demo runs a copy of this folder, and edits it.

Its files import each other relatively, because the copy is a package of another name.
"""

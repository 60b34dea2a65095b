"""Finished runs on a local page: ``python -m lvexp.explore FOLDER``, and a sweep as one HTML file, with ``--to``."""

"""Tests that start a collector, servers, other processes or real libraries."""

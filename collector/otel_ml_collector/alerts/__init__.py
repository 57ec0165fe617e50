"""Alerts: rules over figures of runs, their states, and notifications when a state changes."""

"""Alerts: rules over figures of runs, their states, and where a change of them is sent."""

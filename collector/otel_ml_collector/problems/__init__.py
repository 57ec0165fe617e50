"""The problems of a project: findings, alerts, errors and crashes, grouped by cause."""

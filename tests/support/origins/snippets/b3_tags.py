from otel_ml.compat.raymon import Tag

tags = [
    # Using a dict
    {
        "name": "client",
        "value": "bigshot_client",
        "type": "label"
    },
    # Using the Tag object
    Tag(name="sdk_version", value="1.4.2", type="label"),
    Tag(name="prediction_time_ms", value="120", type="metric")
]
trace.tag(tags)

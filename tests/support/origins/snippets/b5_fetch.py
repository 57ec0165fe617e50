resp = api.object_search(project_id="d6ac1bf0-4e22-43ae-a85e-3cb2c1e5da80", trace_id="472b649d-cce8-4d50-9682-6b81a80755c0", ref="numpy-ref")

if not resp.ok:
    raise Exception("Something wrong.")

data = resp.json()
obj_id = data["obj_id"]
obj_data = data["obj_data"]

raymon_wrapped = rt.load_jcr(obj_data)
orig = raymon_wrapped.data

API_KEY = None

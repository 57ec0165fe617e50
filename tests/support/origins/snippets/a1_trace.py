from otel_ml.compat.bighummingbird import BigHummingbird
bhb = BigHummingbird("Concept Project", API_KEY)

# Add the trace decorator
@bhb.trace
def model(input_a, input_b):
  # Your model here
  # GPT-4 text generation
  # summarization
  # translation
  # sentiment analysis
  return input_a + input_b

model(1, 2)

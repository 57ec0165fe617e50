// The API call of the page as it is typed: with this server's own address.

const call = document.querySelector("#api-call");
if (call) {
  const key = "key" in call.dataset ? '-H "x-api-key: $OTEL_ML_API_KEY" ' : "";
  call.textContent = `curl ${key}'${location.origin}${call.dataset.path.replaceAll("'", "%27")}'`;
}

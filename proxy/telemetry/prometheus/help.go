package prometheus

// helpOf describes a metric by its own name, empty if the name says all that is known.
func helpOf(leaf string) string {
	switch leaf {
	case "requests":
		return "Requests received."
	case "success":
		return "Requests that the response classifier counted as a success."
	case "failures":
		return "Requests that the response classifier counted as a failure."
	case "failures_by_reason":
		return "Failed requests by the reason that l5d-err and the log give."
	case "refused_by_reason":
		return "Requests that were refused for what is wrong with them, by the reason that l5d-err gives."
	case "overrides":
		return "Names kept for requests with rules of their own."
	case "override_evicts":
		return "Names of requests with rules of their own that made room for others."
	case "failures_by_source":
		return "Failed requests by the part of the proxy that failed them."
	case "responses":
		return "Responses by status code; error if the connection ended without one."
	case "response_classes":
		return "Responses by class of status code."
	case "connects":
		return "Connections opened."
	case "connections":
		return "Connections open."
	case "pending":
		return "Requests under way."
	case "received_bytes":
		return "Bytes read from connections, with heads and framing, told when a request ends."
	case "sent_bytes":
		return "Bytes written to connections, with heads and framing, told when a request ends."
	case "request_latency_ms":
		return "Time from the request's first byte to the response's last."
	case "connect_latency_ms":
		return "Time to open a connection."
	case "connection_duration":
		return "Time that connections were open."
	case "connection_requests":
		return "Requests per connection."
	case "per_request":
		return "Retries per request."
	case "size":
		return "Endpoints in the balancer."
	case "available":
		return "Endpoints that may be chosen."
	case "algorithm":
		return "1 for the balancer in use."
	case "nodes":
		return "Places and metrics in the metric tree."
	case "max_nodes":
		return "Most places and metrics the metric tree may hold."
	case "folded":
		return "Places and metrics folded into one named other because the metric tree was full."
	case "unseen":
		return "Places and metrics that no exporter sees because the metric tree was full or their name taken."
	case "dropped":
		return "Metrics left out of the last scrape because another renders to the same name."
	case "config_stale_seconds":
		return "Time since the configuration was last confirmed by its source."
	case "budget_exhausted":
		return "Retries not made because the budget was used up."
	case "max_effort_exhausted":
		return "Picks that found no endpoint available and took one all the same."
	}
	return ""
}

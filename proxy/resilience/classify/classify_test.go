package classify

import (
	"testing"
)

func TestKinds(t *testing.T) {
	kinds := []Kind{NonRetryable5XX, RetryableRead5XX, RetryableIdempotent5XX, RetryableAll5XX, AllSuccessful}
	// For each method, the first of kinds that repeats it.
	from := map[string]int{"GET": 1, "HEAD": 1, "OPTIONS": 1, "TRACE": 1, "PUT": 2, "DELETE": 2, "POST": 3, "PATCH": 3,
		"CONNECT": 9, "get": 9, "PROPFIND": 9}
	for method, first := range from {
		for i, k := range kinds {
			failed, lost := Failure, Failure
			switch {
			case k == AllSuccessful:
				failed = Success
			case i >= first:
				failed, lost = Retryable, Retryable
			}
			for status, want := range map[int]Class{200: Success, 302: Success, 404: Success, 499: Success, 500: failed, 503: failed, 599: failed} {
				if got := k.Response(status, k.Repeats([]byte(method))); got != want {
					t.Errorf("kind %d: %s with %d: %v, want %v", i, method, status, got, want)
				}
			}
			if got := Failed(k.Repeats([]byte(method))); got != lost {
				t.Errorf("kind %d: %s without a response: %v, want %v", i, method, got, lost)
			}
		}
	}
}

func TestSuccessClass(t *testing.T) {
	for value, want := range map[string]Class{"1.0": Success, "0.3": Success, "1": Success, "0.0": Failure, "0": Failure, "-1": Failure,
		"": Failure, "good": Failure, "NaN": Failure} {
		if got := SuccessClass([]byte(value)); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"
)

// Question is a page that is asked something: by the query of a GET or by the JSON of a POST, which changes nothing either.
type Question struct {
	// About is its line in the list of pages.
	About string
	// MaxBytes bounds the body of a POST, and Timeout the answer.
	MaxBytes int64
	Timeout  time.Duration
	// PostOnly is for what no query can hold.
	PostOnly bool
	// Answer returns what is sent as JSON. Of query and body one is empty. A *Refusal decides the status; any other error is a 500.
	Answer func(ctx context.Context, query url.Values, body []byte) (any, error)
}

// Refusal is the answer to a question that cannot be answered.
type Refusal struct {
	Status  int
	Message string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Message }

func (q *Question) methods() string {
	if q.PostOnly {
		return "POST"
	}
	return "GET, HEAD, POST"
}

func (q *Question) serve(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), q.Timeout)
	defer cancel()
	body, err := q.body(w, r)
	var answer any
	if err == nil {
		answer, err = q.Answer(ctx, r.URL.Query(), body)
	}
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		http.Error(w, refusal.Message, refusal.Status)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		jsonPage(func() any { return answer })(w, r)
	}
}

// body reads the JSON of a POST.
func (q *Question) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Method != http.MethodPost {
		return nil, nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &Refusal{http.StatusUnsupportedMediaType, fmt.Sprintf("expected Content-Type application/json, found %q", r.Header.Get("Content-Type"))}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, q.MaxBytes))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &Refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("expected at most %d bytes", large.Limit)}
	case err != nil:
		return nil, &Refusal{http.StatusBadRequest, err.Error()}
	case !json.Valid(body):
		return nil, &Refusal{http.StatusBadRequest, "expected JSON"}
	}
	return body, nil
}

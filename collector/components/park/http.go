package park

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"go.opentelemetry.io/collector/extension/extensionmiddleware"
)

const maxReply = 64 * 1024

var retryableStatus = []int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

var errStatus = errors.New("refused")

// GetHTTPRoundTripper is called by an exporter that names this extension among its middlewares.
func (e *Extension) GetHTTPRoundTripper(context.Context) (extensionmiddleware.WrapHTTPRoundTripperFunc, error) {
	return func(_ context.Context, base http.RoundTripper) (http.RoundTripper, error) {
		return &transport{e, base}, nil
	}, nil
}

type transport struct {
	park *Extension
	base http.RoundTripper
}

// RoundTrip answers a refusal for good with an empty success: the batch lies on our disk.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	signal := signalOf(request.URL.Path)
	if signal == "" || request.Body == nil {
		return t.base.RoundTrip(request)
	}
	body, err := io.ReadAll(request.Body)
	if err = errors.Join(err, request.Body.Close()); err != nil {
		return nil, err
	}
	t.remember(request)
	answer, found := t.send(request.Clone(request.Context()), body)
	if found == nil {
		return nil, answer.err
	}
	encoding := request.Header.Get("Content-Encoding")
	about := ticket{Method: request.URL.Path, Encoding: encoding, Type: request.Header.Get("Content-Type"), Signal: signal,
		Items: countBody(signal, plain(encoding, body))}
	if t.park.settle(answer, about, func() []byte { return body }) == nil && answer.err != nil {
		return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {about.Type}}, Body: http.NoBody, Request: request}, nil
	}
	return found, nil
}

// remember the newest live request: a parked batch goes the same way, with its credentials.
func (t *transport) remember(live *http.Request) {
	target, headers := *live.URL, live.Header.Clone()
	again := route(func(ctx context.Context, about ticket, body []byte) verdict {
		target.Path = about.Method
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), nil)
		if err != nil {
			return verdict{err: err, retry: true}
		}
		request.Header = headers.Clone()
		request.Header.Set("Content-Type", about.Type)
		request.Header.Del("Content-Encoding")
		if about.Encoding != "" {
			request.Header.Set("Content-Encoding", about.Encoding)
		}
		answer, found := t.send(request, body)
		if found != nil {
			_ = found.Body.Close()
		}
		return answer
	})
	t.park.route.Store(&again)
}

// send gives the verdict, and the response with its body read and put back; no response where there was none.
func (t *transport) send(request *http.Request, body []byte) (verdict, *http.Response) {
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	found, err := t.base.RoundTrip(request)
	if err != nil {
		return verdict{err: err, retry: true}, nil
	}
	reply, _ := io.ReadAll(io.LimitReader(found.Body, maxReply))
	rest := found.Body
	found.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(reply), rest), rest}
	switch {
	case found.StatusCode >= 200 && found.StatusCode < 300:
		return verdict{rejected: rejectedItems(plain(found.Header.Get("Content-Encoding"), reply))}, found
	case slices.Contains(retryableStatus, found.StatusCode):
		return verdict{err: errStatus, retry: true}, found
	}
	code := fmt.Sprintf("HTTP %d", found.StatusCode)
	return verdict{err: fmt.Errorf("%w: %s", errStatus, code), code: code}, found
}

// plain undoes gzip; what cannot be read counts as no items.
func plain(encoding string, body []byte) []byte {
	if encoding != "gzip" {
		return body
	}
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	read, err := io.ReadAll(reader)
	if err != nil {
		return nil
	}
	return read
}

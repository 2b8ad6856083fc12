package planck

import "strings"

// Request is one HTTP request. Its bytes are the guest's until the handler returns.
type Request struct {
	Method string
	Path   string // without the query
	Query  string // behind the '?', or empty
	Peer   string // address of the client
	Body   []byte

	headers []byte
}

func decode(message []byte) (*Request, bool) {
	in := reader{rest: message}
	if in.number(1) != 1 {
		return nil, false
	}
	request := &Request{Method: string(in.text16())}
	target := string(in.bytes(int(in.number(4))))
	request.Peer = string(in.text16())
	count := in.number(2)
	before := in.rest
	for i := uint64(0); i < 2*count && !in.bad; i++ {
		in.text16()
	}
	request.headers = before[:len(before)-len(in.rest)]
	request.Body = in.rest
	request.Path, request.Query, _ = strings.Cut(target, "?")
	return request, !in.bad
}

// Header is the value of a header, named in lower case.
func (r *Request) Header(name string) (string, bool) {
	in := reader{rest: r.headers}
	for len(in.rest) > 0 && !in.bad {
		found, value := in.text16(), in.text16()
		if string(found) == name {
			return string(value), !in.bad
		}
	}
	return "", false
}

// Parameter is the value of a parameter of the query, as it was sent.
func (r *Request) Parameter(name string) (string, bool) {
	for _, pair := range strings.Split(r.Query, "&") {
		if key, value, ok := strings.Cut(pair, "="); ok && key == name {
			return value, true
		}
	}
	return "", false
}

// RequestPacket is an HTTP request as a packet for CallService.
func RequestPacket(method, target string, body []byte) []byte {
	out := putText16([]byte{1}, method)
	out = putInt(out, uint64(len(target)), 4)
	out = append(out, target...)
	out = putInt(out, 0, 4) // no peer, no headers
	return append(out, body...)
}

// Response is what a handler answers; its Status is 200 until it is set.
type Response struct {
	Status int
	Body   []byte

	count   int
	headers []byte
	begun   bool
	gone    bool // nobody takes it any more
}

// Header adds a header; name and value have at most 65,535 bytes.
func (w *Response) Header(name, value string) {
	w.count++
	w.headers = putText16(putText16(w.headers, name), value)
}

func (w *Response) encode(out []byte) []byte {
	out = putInt(append(out, 1), uint64(w.Status), 2)
	out = putInt(out, uint64(w.count), 2)
	return append(append(out, w.headers...), w.Body...)
}

// Begin sends status, headers and what there is of the body now, and empties the body. More
// goes by Write while the handler runs; what it leaves in the body is the last piece. A
// handler that returns an error behind it breaks the response off, and the log says why.
//
// What the call has written so far takes effect first, and what it reads from then on is of
// a later moment. It fails if the client has gone, or if others changed what the call had
// read and the host runs it again: to be returned.
func (w *Response) Begin() error {
	head := w.encode(nil)
	w.begun, w.Body = true, nil
	_, err := w.Write(head)
	return err
}

// Write sends the next piece of the body, behind Begin. It fails as that does.
func (w *Response) Write(piece []byte) (int, error) {
	written := hostWrite(at(piece))
	if written >= 0 {
		return len(piece), nil
	}
	w.gone = true
	status := int(-written)
	return 0, &Error{HTTP: httpStatus(status), Status: status, Message: "nobody takes the response any more"}
}

// AppendJSON appends a JSON string, its quotes too.
func AppendJSON(out []byte, text string) []byte {
	const digits = "0123456789abcdef"
	out = append(out, '"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c < 0x20:
			out = append(out, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

// ---- Bytes ----

// putInt appends the lowest bytes of a number, the lowest first.
func putInt(out []byte, number uint64, bytes int) []byte {
	for i := 0; i < bytes; i++ {
		out = append(out, byte(number>>(8*i)))
	}
	return out
}

func putText16(out []byte, text string) []byte {
	return append(putInt(out, uint64(len(text)), 2), text...)
}

// reader reads within bounds; what is not there is empty, or 0, and bad is set.
type reader struct {
	rest []byte
	bad  bool
}

func (in *reader) bytes(size int) []byte {
	if in.bad || size < 0 || size > len(in.rest) {
		in.bad = true
		return nil
	}
	taken := in.rest[:size:size]
	in.rest = in.rest[size:]
	return taken
}

func (in *reader) number(size int) uint64 {
	var value uint64
	for i, b := range in.bytes(size) {
		value |= uint64(b) << (8 * i)
	}
	return value
}

func (in *reader) text16() []byte { return in.bytes(int(in.number(2))) }

func (in *reader) untilNul() []byte {
	for i, b := range in.rest {
		if b == 0 {
			taken := in.bytes(i)
			in.bytes(1)
			return taken
		}
	}
	in.bad = true
	return nil
}

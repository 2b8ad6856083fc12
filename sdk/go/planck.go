// Package planck is what a guest written in Go needs: requests, responses, and the
// service's own stores as function calls. A guest calls Serve from an init function; this
// package exports the guest ABI (docs/abi.md).
//
// What must stay true:
//   - What the host writes into, or reads, is referred to by a variable until it has: Go's
//     collector moves nothing, but it frees what nobody refers to.
//   - Bytes are read within their bounds, whoever they come from.
package planck

import (
	"strconv"
	"unsafe"
)

//go:wasmimport planck host_request
func hostRequest(packet unsafe.Pointer, size uint32, out unsafe.Pointer, capacity uint32) int64

//go:wasmimport planck host_read
func hostRead(offset uint32, out unsafe.Pointer, size uint32) int64

//go:wasmimport planck host_call_service
func hostCallService(name unsafe.Pointer, nameSize uint32, packet unsafe.Pointer, size uint32, out unsafe.Pointer, capacity uint32) int64

//go:wasmimport planck host_log
func hostLog(level int32, line unsafe.Pointer, size uint32)

//go:wasmimport planck host_now
func hostNow() int64

//go:wasmimport planck host_random
func hostRandom(out unsafe.Pointer, size uint32)

//go:wasmimport planck host_write
func hostWrite(piece unsafe.Pointer, size uint32) int64

func at(bytes []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(bytes)), uint32(len(bytes))
}

// Error is why a request to the host failed, or why the guest refuses one; returned by a
// handler it becomes a problem in JSON.
type Error struct {
	HTTP    int // the status of the response
	Status  int // of the engine (docs/protocol.md), or 0 where the guest itself refused
	Message string
}

func (e *Error) Error() string { return e.Message }

// isFault is whether an operator must look: the log is told then, the client is not.
func (e *Error) isFault() bool {
	return e.HTTP == 500 || e.Status == 1703 || e.Status == 1706 || e.Status == 1707 || e.Status == 1901
}

// Refuse is a handler's own refusal.
func Refuse(http int, message string) error { return &Error{HTTP: http, Message: message} }

// NotFound is the status of a document that is not there.
const NotFound = 1301

func unexpected() error {
	return &Error{HTTP: 500, Status: 1999, Message: "the host gave a reply that cannot be read"}
}

func httpStatus(status int) int {
	switch status {
	case 1003, 1102, 1104, 1106, 1403, 1404, 1410:
		return 413
	case 1202, 1204, 1207, 1210, 1214, 1217, 1301, 1405, 1406, 1407, 1408, 1423:
		return 404
	case 1203, 1205, 1208, 1211, 1213, 1215, 1216, 1302, 1303, 1304, 1305, 1340, 1421, 1422, 1424, 1441, 1442, 1443, 1444, 1447, 1603:
		return 409
	case 1501, 1502:
		return 401
	case 1503, 1701:
		return 403
	case 1504:
		return 429
	case 1702:
		return 400
	case 1703, 1705, 1707, 1708:
		return 502
	case 1440, 1601, 1704, 1901:
		return 503
	case 1445, 1602, 1706:
		return 504
	}
	if status < 1500 {
		return 400
	}
	return 500
}

// Level says how important a log line is.
type Level int32

// The levels of Log.
const (
	LevelError Level = iota
	LevelWarn
	LevelInfo
	LevelDebug
)

// Log writes a line to the service's log. What is written to stdout and stderr comes there
// as well, as info and as warnings.
func Log(level Level, line string) {
	ptr, size := at([]byte(line))
	hostLog(int32(level), ptr, size)
}

// Now is wall time in microseconds since 1970.
func Now() int64 { return hostNow() }

// Random fills a slice of at most 65,536 bytes.
func Random(out []byte) { hostRandom(at(out)) }

// CallService sends a packet to an upstream service and gives the body of its reply.
func CallService(name string, packet []byte) ([]byte, error) {
	out := make([]byte, 4096)
	namePtr, nameSize := at([]byte(name))
	ptr, size := at(packet)
	outPtr, capacity := at(out)
	body, err := replyBody(whole(out, hostCallService(namePtr, nameSize, ptr, size, outPtr, capacity)))
	return body.rest, err
}

// whole is what the host answered: read again if it did not fit; never asked for twice.
func whole(out []byte, total int64) []byte {
	if total <= int64(len(out)) {
		return out[:total]
	}
	out = make([]byte, total)
	ptr, size := at(out)
	return out[:hostRead(0, ptr, size)]
}

// ---- The exports ----

// Handler answers one request. What it has put into the response is dropped if it returns
// an error.
type Handler func(*Request, *Response) error

var (
	start   func() error
	handler Handler
	// Referred to here as long as the host may look at them.
	requestBuffer, response []byte
)

// Serve names what the guest does: once in each instance, and for each request. To be
// called from an init function.
func Serve(once func() error, each Handler) { start, handler = once, each }

//go:wasmexport planck_abi
func planckABI() int32 { return 1 }

// Asked for between calls, when the buffer before is nobody's any more: so there is no free.
//
//go:wasmexport alloc
func alloc(size uint32) unsafe.Pointer {
	requestBuffer = make([]byte, size)
	return unsafe.Pointer(unsafe.SliceData(requestBuffer))
}

//go:wasmexport init
func initialize() {
	if err := start(); err != nil {
		Log(LevelError, err.Error())
	}
}

//go:wasmexport process
func process(_ unsafe.Pointer, size uint32) int64 {
	request, ok := decode(requestBuffer[:size])
	if !ok {
		Log(LevelError, "the request cannot be read: the host is of another version")
		return -1
	}
	answer := &Response{Status: 200}
	err := handler(request, answer)
	switch {
	case answer.begun && err != nil:
		if !answer.gone {
			Log(LevelError, err.Error())
		}
		return -1
	case answer.begun:
		response = append(response[:0], answer.Body...)
	default:
		if err != nil {
			answer = problem(err)
		}
		response = answer.encode(response[:0])
	}
	ptr, length := at(response)
	return int64(uintptr(ptr))<<32 | int64(length)
}

func problem(err error) *Response {
	why, ok := err.(*Error)
	if !ok {
		why = &Error{HTTP: 500, Message: err.Error()}
	}
	out := &Response{Status: why.HTTP}
	out.Header("content-type", "application/problem+json")
	out.Body = append(out.Body, `{"status":`+strconv.Itoa(why.HTTP)...)
	if why.Status != 0 {
		out.Body = append(out.Body, `,"code":"PLK-`+strconv.Itoa(why.Status)+`"`...)
	}
	out.Body = append(out.Body, `,"detail":`...)
	detail := why.Message
	if why.isFault() {
		Log(LevelError, detail)
		detail = "the service failed; its log says why"
	}
	out.Body = append(AppendJSON(out.Body, detail), '}')
	return out
}

package planck

import (
	"math"
	"strings"
)

// Doc is a document: BSON, read in place.
type Doc []byte

// DocBuilder writes a document: NewDoc, fields, Finish. A name must hold no NUL.
type DocBuilder struct{ out []byte }

// NewDoc begins a document.
func NewDoc() *DocBuilder { return &DocBuilder{make([]byte, 4, 64)} }

func (d *DocBuilder) field(kind byte, name string) *DocBuilder {
	d.out = append(append(append(d.out, kind), name...), 0)
	return d
}

// Text adds a string.
func (d *DocBuilder) Text(name, value string) *DocBuilder {
	d.field(2, name)
	d.out = putInt(d.out, uint64(len(value)+1), 4)
	d.out = append(append(d.out, value...), 0)
	return d
}

// Int adds an int64.
func (d *DocBuilder) Int(name string, value int64) *DocBuilder {
	d.field(18, name)
	d.out = putInt(d.out, uint64(value), 8)
	return d
}

// Date adds a date, in milliseconds since 1970.
func (d *DocBuilder) Date(name string, millis int64) *DocBuilder {
	d.field(9, name)
	d.out = putInt(d.out, uint64(millis), 8)
	return d
}

// Double adds a double.
func (d *DocBuilder) Double(name string, value float64) *DocBuilder {
	d.field(1, name)
	d.out = putInt(d.out, math.Float64bits(value), 8)
	return d
}

// Bool adds a bool.
func (d *DocBuilder) Bool(name string, value bool) *DocBuilder {
	d.field(8, name)
	bit := byte(0)
	if value {
		bit = 1
	}
	d.out = append(d.out, bit)
	return d
}

// Finish ends the document.
func (d *DocBuilder) Finish() Doc {
	d.out = append(d.out, 0)
	putInt(d.out[:0], uint64(len(d.out)), 4)
	return d.out
}

// Field is a field at the top of the document: a string, int64, float64 or bool; a date as
// its milliseconds; nil for anything else and where there is none.
func (d Doc) Field(name string) any {
	in := reader{rest: d}
	in.number(4)
	for {
		kind := byte(in.number(1))
		if in.bad || kind == 0 {
			return nil
		}
		found := string(in.untilNul())
		value := in.value(kind)
		if in.bad {
			return nil
		}
		if found == name {
			return value
		}
	}
}

func (in *reader) value(kind byte) any {
	ahead := *in
	switch kind {
	case 1:
		return math.Float64frombits(in.number(8))
	case 2:
		text := in.bytes(int(in.number(4)))
		if len(text) == 0 {
			in.bad = true
			return nil
		}
		return string(text[:len(text)-1])
	case 8:
		return in.number(1) != 0
	case 9, 18:
		return int64(in.number(8))
	case 16:
		return int64(int32(in.number(4)))
	case 6, 10, 0x7f, 0xff:
	case 17:
		in.bytes(8)
	case 7:
		in.bytes(12)
	case 19:
		in.bytes(16)
	case 3, 4:
		in.bytes(int(ahead.number(4)))
	case 5:
		in.bytes(int(ahead.number(4)) + 5)
	case 11:
		in.untilNul()
		in.untilNul()
	default: // unknown: nothing behind it can be read
		in.bad = true
	}
	return nil
}

// Text is the string of a field; empty if there is none.
func (d Doc) Text(name string) string {
	text, _ := d.Field(name).(string)
	return text
}

// Int is the number of a field, or the milliseconds of a date; 0 if there is none.
func (d Doc) Int(name string) int64 {
	number, _ := d.Field(name).(int64)
	return number
}

// Double is the number of a double; 0 if there is none.
func (d Doc) Double(name string) float64 {
	number, _ := d.Field(name).(float64)
	return number
}

// Bool is whether a field is a bool, and true.
func (d Doc) Bool(name string) bool {
	is, _ := d.Field(name).(bool)
	return is
}

// Key is the primary key of a document.
type Key [16]byte

// String is its 32 digits.
func (k Key) String() string { return Hex(k[:]) }

// Hex is bytes as digits of base 16, in lower case.
func Hex(bytes []byte) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 2*len(bytes))
	for _, b := range bytes {
		out = append(out, digits[b>>4], digits[b&15])
	}
	return string(out)
}

// ParseKey reads the 32 digits of a key, in lower case.
func ParseKey(digits string) (Key, bool) {
	var key Key
	if len(digits) != 32 {
		return key, false
	}
	for i := 0; i < len(digits); i++ {
		digit := strings.IndexByte("0123456789abcdef", digits[i])
		if digit < 0 {
			return Key{}, false
		}
		key[i/2] = key[i/2]<<4 | byte(digit)
	}
	return key, true
}

const (
	createStore = 5
	insert      = 7
	read        = 9
	query       = 14
	schedule    = 48

	tagEmpty = 0
	tagKey   = 1
	tagRows  = 5
)

func packet(operation uint64) []byte {
	out := append(make([]byte, 0, 256), "PLNK\x01\x00"...)
	out = putInt(out, operation, 2)
	out = putInt(out, 1, 8)
	return putInt(out, 0, 8) // the body's length, known later; no patience of our own
}

// replyBody is the body of a reply packet.
func replyBody(packet []byte) (reader, error) {
	in := reader{rest: packet}
	in.bytes(6)
	status := int(in.number(2))
	in.bytes(16)
	if in.bad {
		return in, unexpected()
	}
	if status != 0 {
		return in, &Error{HTTP: httpStatus(status), Status: status, Message: string(in.rest)}
	}
	return in, nil
}

func ask(packet []byte, tag uint64) (reader, error) {
	putInt(packet[:16], uint64(len(packet)-24), 4)
	out := make([]byte, 4096)
	ptr, size := at(packet)
	outPtr, capacity := at(out)
	body, err := replyBody(whole(out, hostRequest(ptr, size, outPtr, capacity)))
	if err == nil && body.number(1) != tag {
		err = unexpected()
	}
	return body, err
}

// CreateStore makes a store unless it exists.
func CreateStore(store string) error {
	_, err := ask(append(putText16(packet(createStore), store), 1), tagEmpty)
	return err
}

// Insert adds a document under a new key.
func Insert(store string, doc Doc) (Key, error) {
	out := putText16(packet(insert), store)
	out = append(out, make([]byte, 17)...) // no key of ours
	body, err := ask(append(out, doc...), tagKey)
	if err != nil {
		return Key{}, err
	}
	return body.key()
}

// Schedule has a job run once this call is committed: a document, {path, upstream?, payload?,
// in_ms?, ..}, as docs/jobs.md has it.
func Schedule(job Doc) (Key, error) {
	body, err := ask(append(packet(schedule), job...), tagKey)
	if err != nil {
		return Key{}, err
	}
	return body.key()
}

func (in *reader) key() (Key, error) {
	var key Key
	if copy(key[:], in.bytes(16)) != len(key) {
		return key, unexpected()
	}
	return key, nil
}

// Row is a document of a result; its key is zeros if the query gives none.
type Row struct {
	Key Key
	Doc Doc
}

func rows(packet []byte) ([]Row, error) {
	in, err := ask(packet, tagRows)
	if err != nil {
		return nil, err
	}
	keyed := in.number(1) == 1
	in.bytes(17) // where to go on
	var found []Row
	for count := in.number(4); count > 0; count-- {
		var row Row
		if keyed {
			copy(row.Key[:], in.bytes(16))
		}
		ahead := in
		row.Doc = in.bytes(int(ahead.number(4)))
		if in.bad {
			return nil, unexpected()
		}
		found = append(found, row)
	}
	return found, nil
}

// Read is the document under a key; an Error with Status NotFound if there is none.
func Read(store string, key Key) (Doc, error) {
	found, err := rows(append(putText16(packet(read), store), key[:]...))
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, unexpected()
	}
	return found[0].Doc, nil
}

// Query runs PQL and gives one page of rows: what fits a reply. Parameters are a document of
// $1, $2 under the names "1", "2", or nil.
func Query(text string, parameters Doc) ([]Row, error) {
	out := putInt(packet(query), uint64(len(text)), 4)
	return rows(append(append(out, text...), parameters...))
}

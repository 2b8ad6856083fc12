// The notes of README.md, in Go.
package main

import (
	"planck"
	"strconv"
	"strings"
)

func init() {
	planck.Serve(func() error { return planck.CreateStore("notes") }, handle)
}

func main() {}

// nameOf is the parameter of that name, if there is one: 1 to 32 of a to z, 0 to 9 and _.
func nameOf(request *planck.Request, which string) (name string, given bool, err error) {
	name, given = request.Parameter(which)
	good := len(name) >= 1 && len(name) <= 32
	for _, c := range []byte(name) {
		good = good && (c == '_' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
	}
	if given && !good {
		err = planck.Refuse(400, "a name is 1 to 32 of a to z, 0 to 9 and _")
	}
	return name, given, err
}

func appendNote(out []byte, key planck.Key, doc planck.Doc) []byte {
	out = append(out, `{"key":"`+key.String()+`","by":`...)
	out = planck.AppendJSON(out, doc.Text("by"))
	out = planck.AppendJSON(append(out, `,"text":`...), doc.Text("text"))
	out = strconv.AppendInt(append(out, `,"at":`...), doc.Int("at"), 10)
	out = planck.AppendJSON(append(out, `,"tag":`...), doc.Text("tag"))
	out = strconv.AppendBool(append(out, `,"pinned":`...), doc.Bool("pinned"))
	out = strconv.AppendInt(append(out, `,"seconds":`...), int64(60*doc.Double("minutes")), 10)
	return append(out, '}')
}

func json(response *planck.Response) { response.Header("content-type", "application/json") }

func add(request *planck.Request, response *planck.Response) error {
	by, given, err := nameOf(request, "by")
	if err != nil {
		return err
	}
	if !given {
		return planck.Refuse(400, "say who you are: ?by=NAME")
	}
	if len(request.Body) < 1 || len(request.Body) > 1000 {
		return planck.Refuse(400, "a note has 1 to 1000 bytes of text")
	}
	random := make([]byte, 4)
	planck.Random(random)
	doc := planck.NewDoc().Text("by", by).Text("text", string(request.Body))
	doc.Date("at", planck.Now()/1000).Text("tag", planck.Hex(random))
	pinned, _ := request.Header("x-pinned")
	doc.Bool("pinned", pinned == "yes").Double("minutes", float64(len(request.Body))/1000)
	key, err := planck.Insert("notes", doc.Finish())
	if err != nil {
		return err
	}
	planck.Log(planck.LevelInfo, "a note by "+by)
	response.Status = 201
	json(response)
	response.Header("location", "/notes/"+key.String())
	response.Body = append(response.Body, `{"key":"`+key.String()+`"}`...)
	return nil
}

// limitOf is 1 to 100, or 0 if it is none of these.
func limitOf(digits string) int64 {
	if len(digits) > 3 || strings.Trim(digits, "0123456789") != "" {
		return 0
	}
	limit, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || limit > 100 {
		return 0
	}
	return limit
}

func list(request *planck.Request, response *planck.Response) error {
	by, given, err := nameOf(request, "by")
	if err != nil {
		return err
	}
	digits, ok := request.Parameter("limit")
	if !ok {
		digits = "20"
	}
	limit := limitOf(digits)
	if limit == 0 {
		return planck.Refuse(400, "limit is a number from 1 to 100")
	}
	query := "notes.orderBy(at desc).limit($1)"
	parameters := planck.NewDoc().Int("1", limit)
	if given {
		query = "notes.filter(by = $2).orderBy(at desc).limit($1)"
		parameters.Text("2", by)
	}
	rows, err := planck.Query(query, parameters.Finish())
	if err != nil {
		return err
	}
	json(response)
	out := append(response.Body, `{"notes":[`...)
	for i, row := range rows {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendNote(out, row.Key, row.Doc)
	}
	response.Body = append(out, "]}"...)
	return nil
}

// lines gives all notes, the oldest first, a line each. They leave a page at a time; so a
// failure has a status of its own as long as nothing has left.
func lines(request *planck.Request, response *planck.Response) error {
	by, given, err := nameOf(request, "by")
	if err != nil {
		return err
	}
	response.Header("content-type", "application/x-ndjson")
	var last planck.Key
	for begun := false; ; begun = true {
		query := "notes.filter(key > $1).limit(100)"
		parameters := planck.NewDoc().Text("1", last.String())
		if given {
			query = "notes.filter(key > $1 and by = $2).limit(100)"
			parameters.Text("2", by)
		}
		rows, err := planck.Query(query, parameters.Finish())
		if err != nil {
			return err
		}
		if !begun {
			if err := response.Begin(); err != nil {
				return err
			}
		}
		var piece []byte
		for _, row := range rows {
			last = row.Key
			piece = append(appendNote(piece, row.Key, row.Doc), '\n')
		}
		if len(rows) > 0 {
			if _, err := response.Write(piece); err != nil {
				return err
			}
		}
		if len(rows) < 100 {
			return nil
		}
	}
}

func show(key planck.Key, response *planck.Response) error {
	doc, err := planck.Read("notes", key)
	if err != nil {
		return err
	}
	json(response)
	response.Body = appendNote(response.Body, key, doc)
	return nil
}

func send(key planck.Key, request *planck.Request, response *planck.Response) error {
	to, given, err := nameOf(request, "to")
	if err != nil {
		return err
	}
	if !given {
		return planck.Refuse(400, "say where to: ?to=SERVICE")
	}
	doc, err := planck.Read("notes", key)
	if err != nil {
		return err
	}
	packet := planck.RequestPacket("POST", "/", []byte(doc.Text("text")))
	if _, err := planck.CallService(to, packet); err != nil {
		return err
	}
	response.Status = 202
	return nil
}

func handle(request *planck.Request, response *planck.Response) error {
	get, post := request.Method == "GET", request.Method == "POST"
	if request.Path == "/notes" && get {
		return list(request, response)
	}
	if request.Path == "/notes" && post {
		return add(request, response)
	}
	if request.Path == "/notes/lines" && get {
		return lines(request, response)
	}
	if rest, ok := strings.CutPrefix(request.Path, "/notes/"); ok && len(rest) >= 32 {
		if key, ok := planck.ParseKey(rest[:32]); ok {
			if get && len(rest) == 32 {
				return show(key, response)
			}
			if post && rest[32:] == "/send" {
				return send(key, request, response)
			}
		}
	}
	return planck.Refuse(404, "there is no such page")
}

package main

import (
	"encoding/json"
	"net/http"
	"sync"
)

// What pods saw, the latest last, whether or not anybody read their answers.
var observed record

// A request that is older than this many others is forgotten.
const observedMax = 1000

type record struct {
	lock sync.Mutex
	said []seen
}

func (r *record) note(said seen) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.said = append(r.said, said)
	if len(r.said) > observedMax {
		r.said = r.said[1:]
	}
}

// tell gives what was seen since it was last asked with DELETE.
func tell(w http.ResponseWriter, r *http.Request) {
	observed.lock.Lock()
	defer observed.lock.Unlock()
	if r.Method == http.MethodDelete {
		observed.said = nil
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(append([]seen{}, observed.said...))
}

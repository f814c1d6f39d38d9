package invitations

import (
	"net/http"

	"github.com/usher-meet/usher/gen/ent"
)

// showStop asks whether mail is to end. It has no effect: mail scanners open every link.
func (s *Service) showStop(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.readStop(r.PathValue("token")); !ok {
		s.fail(w, r, ErrNotFound)
		return
	}
	localizer := s.localizer(r, nil, nil)
	s.render(w, r, http.StatusOK, pageData{
		Title: localizer.Text("stop.title"), Text: []string{localizer.Text("stop.text")}, Stop: localizer.Text("stop.button"),
	}, localizer)
}

// postStop ends mail to an address, for the button of the page and for that of mail programs (RFC 8058), which sends no
// cookie and reads no answer.
func (s *Service) postStop(w http.ResponseWriter, r *http.Request) {
	hash, ok := s.readStop(r.PathValue("token"))
	if !ok {
		s.fail(w, r, ErrNotFound)
		return
	}
	ctx := r.Context()
	if err := s.DB.Run(ctx, func(tx *ent.Client) error { return suppress(ctx, tx, hash) }); err != nil {
		s.fail(w, r, err)
		return
	}
	s.Log.InfoContext(ctx, "somebody wants no more mail")
	localizer := s.localizer(r, nil, nil)
	data := pageData{Title: localizer.Text("stopped.title"), Text: []string{localizer.Text("stopped.text")}}
	s.render(w, r, http.StatusOK, data, localizer)
}

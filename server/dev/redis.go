package dev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/usher-meet/usher/server/settings"
)

// saveEvery is how much of what Redis holds a crash can cost.
const saveEvery = 5 * time.Second

// embeddedRedis is a Redis inside this process. It listens on loopback, wants a password, lets real time pass, and keeps
// its keys in a file: written every 5 s when something was asked of it, and when it stops.
//
// Values are read one key after the other, not all at one moment: nothing in Usher needs two keys to agree.
type embeddedRedis struct {
	server   *miniredis.Miniredis
	password string
	path     string
	log      *slog.Logger
	stopping chan struct{}
	loop     sync.WaitGroup
	// saved is the number of commands at the last save: without a new one nothing has changed.
	saved int
}

// startRedis starts a Redis with the keys of the file at path, without those that have expired since. A file that cannot be
// read is put aside, with a warning: development goes on, signed out.
func startRedis(path, password string, log *slog.Logger) (*embeddedRedis, error) {
	r := &embeddedRedis{
		server:   miniredis.NewMiniRedis(),
		password: password,
		path:     path,
		log:      log,
		stopping: make(chan struct{}),
		saved:    -1,
	}
	r.server.RequireAuth(password)
	if err := r.server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the in-process Redis: %w", err)
	}
	r.server.ClockTTL(true)
	if err := r.restore(); err != nil {
		r.server.FlushAll()
		aside := path + ".unreadable"
		log.Warn("the saved keys of Redis cannot be read: starting without them", "error", err.Error(), "kept as", aside)
		if err := os.Rename(path, aside); err != nil {
			r.server.Close()
			return nil, fmt.Errorf("put the saved keys of Redis aside: %w", err)
		}
	}
	r.loop.Go(r.saveNowAndThen)
	return r, nil
}

// config is how the server reaches it.
func (r *embeddedRedis) config() settings.RedisConfig {
	return settings.RedisConfig{Addresses: []string{r.server.Addr()}, Password: settings.Secret(r.password), Embedded: true}
}

func (r *embeddedRedis) saveNowAndThen() {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-r.stopping:
			return
		case <-ticker.C:
			if err := r.save(); err != nil {
				r.log.Warn("the keys of Redis were not saved", "error", err.Error())
			}
		}
	}
}

// stop ends the Redis and saves its keys.
func (r *embeddedRedis) stop() error {
	close(r.stopping)
	r.loop.Wait()
	err := r.save()
	r.server.Close()
	return err
}

// savedKey is one key in the file. What is inside depends on the type: the value of a string, the items of a list or set,
// fields and values of a hash by turns, members and scores of a sorted set by turns.
type savedKey struct {
	Key   []byte   `json:"key"`
	Type  string   `json:"type"`
	Items [][]byte `json:"items"`
	// ExpireTime is absolute, because time passes while nothing runs. Zero: never.
	ExpireTime time.Time `json:"expire_time,omitzero"`
}

type savedKeys struct {
	Format int        `json:"format"`
	Keys   []savedKey `json:"keys"`
}

// savedFormat changes when the file does.
const savedFormat = 1

func (r *embeddedRedis) save() error {
	commands := r.server.CommandCount()
	if commands == r.saved {
		return nil
	}
	all := savedKeys{Format: savedFormat, Keys: []savedKey{}}
	for _, key := range r.server.Keys() {
		saved := savedKey{Key: []byte(key), Type: r.server.Type(key)}
		items, err := r.items(key, saved.Type)
		if errors.Is(err, miniredis.ErrKeyNotFound) {
			continue // it ended since the keys were listed
		}
		if err != nil {
			return err
		}
		saved.Items = items
		if ttl := r.server.TTL(key); ttl > 0 {
			saved.ExpireTime = time.Now().Add(ttl)
		}
		all.Keys = append(all.Keys, saved)
	}
	content, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("encode the keys of Redis: %w", err)
	}
	if err := writeFile(r.path, content); err != nil {
		return err
	}
	r.saved = commands
	return nil
}

func (r *embeddedRedis) items(key, kind string) (items [][]byte, err error) {
	var texts []string
	switch kind {
	case "string":
		var text string
		text, err = r.server.Get(key)
		texts = []string{text}
	case "list":
		texts, err = r.server.List(key)
	case "set":
		texts, err = r.server.Members(key)
	case "hash":
		var fields []string
		fields, err = r.server.HKeys(key)
		for _, field := range fields {
			texts = append(texts, field, r.server.HGet(key, field))
		}
	case "zset":
		var scores map[string]float64
		scores, err = r.server.SortedSet(key)
		for member, score := range scores {
			texts = append(texts, member, strconv.FormatFloat(score, 'g', -1, 64))
		}
	case "none", "":
		err = miniredis.ErrKeyNotFound
	default:
		// Keys of other types would be lost without a word.
		err = fmt.Errorf("keys of type %s cannot be saved", kind)
	}
	for _, text := range texts {
		items = append(items, []byte(text))
	}
	return items, err
}

// restore reads the file, if there is one.
func (r *embeddedRedis) restore() error {
	content, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var all savedKeys
	if err := json.Unmarshal(content, &all); err != nil {
		return err
	}
	if all.Format != savedFormat {
		return fmt.Errorf("it has format %d, not %d", all.Format, savedFormat)
	}
	now := time.Now()
	for _, k := range all.Keys {
		if !k.ExpireTime.IsZero() && !k.ExpireTime.After(now) {
			continue
		}
		if err := r.put(k); err != nil {
			return fmt.Errorf("key of type %q: %w", k.Type, err)
		}
		if !k.ExpireTime.IsZero() {
			r.server.SetTTL(string(k.Key), k.ExpireTime.Sub(now))
		}
	}
	return nil
}

func (r *embeddedRedis) put(k savedKey) (err error) {
	key, items := string(k.Key), make([]string, len(k.Items))
	for i, item := range k.Items {
		items[i] = string(item)
	}
	if pairs := k.Type == "hash" || k.Type == "zset"; len(items) == 0 || pairs && len(items)%2 != 0 {
		return errors.New("it is incomplete")
	}
	switch k.Type {
	case "string":
		err = r.server.Set(key, items[0])
	case "list":
		_, err = r.server.Push(key, items...)
	case "set":
		_, err = r.server.SetAdd(key, items...)
	case "hash":
		r.server.HSet(key, items...)
	case "zset":
		for i := 0; i < len(items) && err == nil; i += 2 {
			var score float64
			if score, err = strconv.ParseFloat(items[i+1], 64); err == nil {
				_, err = r.server.ZAdd(key, score, items[i])
			}
		}
	default:
		err = errors.New("unknown type")
	}
	return err
}

// writeFile replaces a file that only its owner may read, so that a crash at any moment leaves the old or the new one. The
// folder is locked, so nobody else writes.
func writeFile(path string, content []byte) (err error) {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(temporary))
	}
	return nil
}

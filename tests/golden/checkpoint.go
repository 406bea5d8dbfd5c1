//go:build ignore

// How the Go half of the test vectors in src/store/checkpoint.rs was made, and that Go opens what Sternway signs:
//
//	go mod init x && go get golang.org/x/mod && go run checkpoint.go records.jsonl
package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	seed := []byte(strings.Repeat("\x07", 32))
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	name := "sternway/5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"
	key := must(note.NewEd25519VerifierKey(name, public))
	verifier := must(note.NewVerifier(key))
	fmt.Println(key)

	lines := bufio.NewScanner(must(os.Open(os.Args[1])))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"type":"checkpoint"`) {
			var line struct{ Event struct{ Body struct{ Note string } } }
			must(0, json.Unmarshal(lines.Bytes(), &line))
			opened := must(note.Open([]byte(line.Event.Body.Note), note.VerifierList(verifier)))
			fmt.Printf("opened: %q\n", opened.Text)
		}
	}

	id := sha256.Sum256(append([]byte(name+"\n\x01"), public...))
	secret := base64.StdEncoding.EncodeToString(append([]byte{1}, seed...))
	signer := must(note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, binary.BigEndian.Uint32(id[:4]), secret)))
	root := sha256.Sum256([]byte("a root"))
	text := fmt.Sprintf("%s\n412\n%s\n", name, base64.StdEncoding.EncodeToString(root[:]))
	fmt.Printf("%q\n", must(note.Sign(&note.Note{Text: text}, signer)))
}

// Command probe is the workload of the cluster's smoke check.
//
//	probe serve TEXT     answers every request on :8080 with TEXT
//	probe get URL        prints the answer to one GET, which also proves that the URL's name resolves
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: probe serve TEXT | probe get URL")
	}
	switch argument := os.Args[2]; os.Args[1] {
	case "serve":
		serve(argument)
	case "get":
		get(argument)
	default:
		log.Fatalf("probe: %q is neither serve nor get", os.Args[1])
	}
}

func serve(text string) {
	answer := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	log.Fatal(http.ListenAndServe(":8080", http.HandlerFunc(answer)))
}

func get(url string) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		log.Fatal(err)
	}
}

package cibatest_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"

	"github.com/caddy-stepup/stepup/ciba/cibatest"
)

func Example() {
	op, err := cibatest.New(cibatest.Config{Issuer: "http://op.example/op"})
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: op.Transport()}
	post := func(path string, form url.Values) *http.Response {
		form.Set("grant_type", "urn:openid:params:grant-type:ciba")
		form.Set("scope", "openid")
		form.Set("client_id", cibatest.DemoClientID)
		form.Set("client_secret", cibatest.DemoClientSecret)
		resp, err := client.PostForm("http://op.example/op"+path, form)
		if err != nil {
			log.Fatal(err)
		}
		return resp
	}

	// The service asks a person.
	post("/connect/ciba", url.Values{"login_hint_token": {
		`{"idp":"mitid","uuid":"8a9856e0-f12d-4217-b320-c8a076be9320","referenceTextBody":"Pay DKK 100 to Anna","ip":"192.0.2.7"}`,
	}}).Body.Close()

	// The person reads the text and says no.
	request := op.Requests()[0]
	fmt.Println(request.State, request.Text)
	if err := op.Deny(request.ID); err != nil {
		log.Fatal(err)
	}

	// The service polls.
	resp := post("/connect/token", url.Values{"auth_req_id": {request.ID}})
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.StatusCode, string(body))
	// Output:
	// waiting Pay DKK 100 to Anna
	// 400 {"error":"access_denied"}
}

func ExampleServer_Inject() {
	op, err := cibatest.New(cibatest.Config{Issuer: "http://op.example/op"})
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: op.Transport()}

	// The next look at the keys fails, and only that one.
	op.Inject(cibatest.Fault{
		Endpoint: cibatest.EndpointJWKS,
		Answer:   cibatest.AnswerStatus,
		Count:    1,
	})
	for range 2 {
		resp, err := client.Get("http://op.example/op/.well-known/openid-configuration/jwks")
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
	}
	// Output:
	// 503 Service Unavailable
	// 200 OK
}

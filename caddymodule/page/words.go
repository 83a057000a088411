package page

// words is every string of a page in one language. A test fails on one that is
// empty, or the same in both languages.
type words struct {
	Approve string // the default text's first word

	Pending, Denied, Expired, Cancelled, Failed, Spent      message
	Unavailable, Forbidden, Conflict, Limited, Invalid      message
	CrossSite                                               message
	TextInApp, TextOfRequest, CodeLabel, DetailLabel, Quote string

	StepsHeading, StepOpen, StepCompare, StepCompareCode, StepApprove string
	WarningHeading, Warning                                           string

	// ClockLayout is a layout of package time.
	Expires, ClockLayout, TimeLeft string

	// What the status line says, by the script.
	StatusPending, StatusApproved, StatusEnded, StatusLost, StatusStopped string

	// How the page goes on: with the script, and without it by method.
	GoesOn, GoesOnGet, GoesOnPost string

	Continue, Check, Cancel, Restart string
	RestartNote                      string

	// RetrySeconds and RetryMinutes have one verb, for a number of at least 2.
	RetrySoon, RetrySeconds, RetryMinutes string
}

// message is what a page says first.
type message struct {
	Heading string
	Lead    string
}

// message returns the message for a state, nil for an unknown one.
func (w *words) message(s State) *message {
	switch s {
	case Pending:
		return &w.Pending
	case Denied:
		return &w.Denied
	case Expired:
		return &w.Expired
	case Cancelled:
		return &w.Cancelled
	case Failed:
		return &w.Failed
	case Spent:
		return &w.Spent
	case Unavailable:
		return &w.Unavailable
	case Forbidden:
		return &w.Forbidden
	case Conflict:
		return &w.Conflict
	case Limited:
		return &w.Limited
	case Invalid:
		return &w.Invalid
	case CrossSite:
		return &w.CrossSite
	}
	return nil
}

var danish = words{
	Approve: "Godkend",

	Pending:     message{"Venter på din godkendelse", "Intet bliver udført, før du har godkendt det i MitID app."},
	Denied:      message{"Anmodningen blev afvist", "Den blev afvist i MitID app, og intet er blevet udført. Kendte du ikke til den, så prøv ikke igen, men kontakt dem, der driver siden."},
	Expired:     message{"Tiden løb ud", "Anmodningen blev ikke godkendt i tide, og intet er blevet udført."},
	Cancelled:   message{"Anmodningen er annulleret", "Intet er blevet udført. Ligger anmodningen stadig i MitID app, så afvis den der."},
	Failed:      message{"Godkendelsen lykkedes ikke", "Der opstod en fejl undervejs, og intet er blevet udført."},
	Spent:       message{"Anmodningen er allerede sendt", "Den er sendt videre én gang og bliver ikke gentaget. Undersøg, om den er udført, før du prøver igen."},
	Unavailable: message{"Godkendelse er ikke mulig lige nu", "Tjenesten, der henter godkendelser, svarer ikke. Intet er blevet udført."},
	Forbidden:   message{"Du har ikke adgang", "Dette kræver en godkendelse, som du ikke kan give, sådan som du er logget på nu. Intet er blevet udført."},
	Conflict:    message{"En anden anmodning venter", "Du har allerede en anmodning i MitID app. Svar på den først. Har du ikke selv startet den, så afvis den. Intet er blevet udført her."},
	Limited:     message{"Vent, før du prøver igen", "Der er bedt om godkendelse mange gange på kort tid, eller en anmodning er lige blevet afvist. Intet er blevet udført."},
	Invalid:     message{"Anmodningen kan ikke godkendes", "Den indeholder noget, der ikke kan vises helt og tydeligt i MitID app. Intet er blevet udført. Gå tilbage, ret det, og prøv igen."},
	CrossSite:   message{"Du kom fra et andet websted", "En godkendelse kan kun startes her på siden. Intet er blevet udført. Har du ikke selv bedt om dette, så luk siden."},

	TextInApp:     "Teksten i MitID app",
	TextOfRequest: "Anmodningen",
	CodeLabel:     "Kontrolkode",
	DetailLabel:   "Det drejer sig om:",
	Quote:         "Reference til support:",

	StepsHeading:    "Sådan gør du",
	StepOpen:        "Åbn MitID app.",
	StepCompare:     "Kontrollér, at teksten er den samme som her på siden.",
	StepCompareCode: "Kontrollér, at teksten og kontrolkoden er de samme som her på siden.",
	StepApprove:     "Godkend, hvis alt passer. Afvis, hvis noget er anderledes.",

	WarningHeading: "Pas på svindel",
	Warning:        "Ingen – hverken din bank, politiet eller andre – vil nogensinde ringe og bede dig om at godkende. Har du ikke selv startet dette, så afvis det i MitID app.",

	Expires:     "Udløber kl.",
	ClockLayout: "15.04 (MST)",
	TimeLeft:    "Tid tilbage:",

	StatusPending:  "Venter på dit svar i MitID app.",
	StatusApproved: "Godkendt. Din anmodning sendes videre.",
	StatusEnded:    "Anmodningen venter ikke længere. Siden opdateres.",
	StatusLost:     "Siden kan ikke hente svaret. Den prøver igen om lidt.",
	StatusStopped:  "Siden kan ikke længere følge med. Brug knappen herunder.",

	GoesOn:     "Siden går videre af sig selv, når du har godkendt.",
	GoesOnGet:  "Siden opdateres af sig selv hvert 5. sekund.",
	GoesOnPost: "Tryk på Fortsæt, når du har godkendt i MitID app.",

	Continue:    "Fortsæt",
	Check:       "Tjek nu",
	Cancel:      "Annuller",
	Restart:     "Prøv igen",
	RestartNote: "Hvis du prøver igen, får du en ny anmodning i MitID app.",

	RetrySoon:    "Prøv igen om lidt.",
	RetrySeconds: "Prøv igen om %d sekunder.",
	RetryMinutes: "Prøv igen om %d minutter.",
}

var english = words{
	Approve: "Approve",

	Pending:     message{"Waiting for your approval", "Nothing is carried out until you have approved it in the MitID app."},
	Denied:      message{"The request was refused", "It was refused in the MitID app, and nothing has been carried out. If you knew nothing of it, do not try again, but contact those who run this site."},
	Expired:     message{"Time ran out", "The request was not approved in time, and nothing has been carried out."},
	Cancelled:   message{"The request was cancelled", "Nothing has been carried out. If the request is still in the MitID app, refuse it there."},
	Failed:      message{"The approval did not succeed", "Something went wrong on the way, and nothing has been carried out."},
	Spent:       message{"The request has already been sent", "It has been sent on once and is not repeated. Find out whether it was carried out before you try again."},
	Unavailable: message{"Approval is not possible right now", "The service that collects approvals does not answer. Nothing has been carried out."},
	Forbidden:   message{"You do not have access", "This needs an approval that you cannot give the way you are signed in now. Nothing has been carried out."},
	Conflict:    message{"Another request is waiting", "You already have a request in the MitID app. Answer that one first. If you did not start it yourself, refuse it. Nothing has been carried out here."},
	Limited:     message{"Wait before you try again", "Approval has been asked for many times in a short while, or a request has just been refused. Nothing has been carried out."},
	Invalid:     message{"The request cannot be approved", "It contains something that cannot be shown in full and clearly in the MitID app. Nothing has been carried out. Go back, correct it and try again."},
	CrossSite:   message{"You came from another site", "An approval can only be started on this site itself. Nothing has been carried out. If you did not ask for this yourself, close the page."},

	TextInApp:     "The text in the MitID app",
	TextOfRequest: "The request",
	CodeLabel:     "Check code",
	DetailLabel:   "This is about:",
	Quote:         "Reference for support:",

	StepsHeading:    "What to do",
	StepOpen:        "Open the MitID app.",
	StepCompare:     "Check that the text is the same as on this page.",
	StepCompareCode: "Check that the text and the check code are the same as on this page.",
	StepApprove:     "Approve if everything matches. Refuse if anything is different.",

	WarningHeading: "Beware of fraud",
	Warning:        "Nobody – not your bank, not the police, not anyone else – will ever call you and ask you to approve. If you did not start this yourself, refuse it in the MitID app.",

	Expires:     "Expires at",
	ClockLayout: "15:04 (MST)",
	TimeLeft:    "Time left:",

	StatusPending:  "Waiting for your answer in the MitID app.",
	StatusApproved: "Approved. Your request is being sent on.",
	StatusEnded:    "The request is no longer waiting. Updating the page.",
	StatusLost:     "This page cannot get the answer. It will try again shortly.",
	StatusStopped:  "This page can no longer follow along. Use the button below.",

	GoesOn:     "This page goes on by itself when you have approved.",
	GoesOnGet:  "This page refreshes by itself every 5 seconds.",
	GoesOnPost: "Press Continue when you have approved in the MitID app.",

	Continue:    "Continue",
	Check:       "Check now",
	Cancel:      "Cancel",
	Restart:     "Try again",
	RestartNote: "If you try again, you will get a new request in the MitID app.",

	RetrySoon:    "Try again in a little while.",
	RetrySeconds: "Try again in %d seconds.",
	RetryMinutes: "Try again in %d minutes.",
}

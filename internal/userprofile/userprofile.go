// Package userprofile is the bot of Microsoft's sample 05.multi-turn-prompt:
// it asks for a user's mode of transport, name, age and picture, and keeps
// them in the user state.
//
// Dialog ids, texts and stored values are those of the JavaScript sample, so
// that either bot can go on where the other one stopped.
package userprofile

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/infracloudio/msbotbuilder-go/schema"

	"github.com/botlapse/botlapse/bot"
	"github.com/botlapse/botlapse/dialog"
	"github.com/botlapse/botlapse/state"
)

// The dialogs.
const (
	rootID       = "userProfileDialog"
	nameID       = "NAME_PROMPT"
	choiceID     = "CHOICE_PROMPT"
	confirmID    = "CONFIRM_PROMPT"
	numberID     = "NUMBER_PROMPT"
	attachmentID = "ATTACHMENT_PROMPT"
	waterfallID  = "WATERFALL_DIALOG"
)

// What the steps remember.
const (
	transportValue = dialog.Value[string]("transport")
	nameValue      = dialog.Value[string]("name")
	ageValue       = dialog.Value[float64]("age")
	pictureValue   = dialog.Value[*schema.Attachment]("picture")
)

// noAge is the age of users who did not want to give theirs.
const noAge float64 = -1

// A Profile is what the bot knows about a user.
type Profile struct {
	Transport string             `json:"transport"`
	Name      string             `json:"name"`
	Age       float64            `json:"age"` // -1 if it was not given
	Picture   *schema.Attachment `json:"picture,omitempty"`
}

// A Bot asks for user profiles.
type Bot struct {
	// Dialogs are the bot's dialogs. Their Report may be set before the first
	// turn.
	Dialogs *dialog.Set

	profile *state.Property[Profile]
}

// New returns a bot that keeps its dialogs in the conversation state and the
// profiles in the user state.
func New(conversation, user *state.Scope) *Bot {
	b := &Bot{profile: state.NewProperty[Profile](user, "USER_PROFILE")}
	b.Dialogs = dialog.NewSet(conversation, dialog.NewComponent(rootID, waterfallID,
		dialog.NewTextPrompt(nameID, nil),
		dialog.NewChoicePrompt(choiceID, nil),
		dialog.NewConfirmPrompt(confirmID, nil),
		dialog.NewNumberPrompt(numberID, plausibleAge),
		dialog.NewAttachmentPrompt(attachmentID, keepPictures),
		dialog.NewWaterfall(waterfallID,
			askTransport, askName, askWhetherAge, askAge, askPicture, b.showSummary, sayGoodbye),
	))
	return b
}

// Handle is the bot's [bot.Handler]. It answers messages only.
func (b *Bot) Handle(ctx context.Context, turn *bot.Turn) error {
	if turn.Activity.Type != schema.Message {
		return nil
	}
	_, err := b.Dialogs.Run(ctx, turn, rootID)
	return err
}

func askTransport(ctx context.Context, step *dialog.Step) (dialog.Result, error) {
	return step.Prompt(ctx, choiceID, dialog.PromptOptions{
		Prompt:  dialog.Text("Please enter your mode of transport."),
		Choices: dialog.Choices("Car", "Bus", "Bicycle"),
	})
}

func askName(ctx context.Context, step *dialog.Step) (dialog.Result, error) {
	found, err := dialog.Answer[dialog.FoundChoice](step)
	if err != nil {
		return dialog.Result{}, err
	}
	if err := transportValue.Set(step, found.Value); err != nil {
		return dialog.Result{}, err
	}
	return step.Prompt(ctx, nameID, dialog.PromptOptions{Prompt: dialog.Text("Please enter your name.")})
}

func askWhetherAge(ctx context.Context, step *dialog.Step) (dialog.Result, error) {
	name, err := dialog.Answer[string](step)
	if err != nil {
		return dialog.Result{}, err
	}
	if err := nameValue.Set(step, name); err != nil {
		return dialog.Result{}, err
	}
	if _, err := step.Turn.SendText(ctx, "Thanks "+name+"."); err != nil {
		return dialog.Result{}, err
	}
	return step.Prompt(ctx, confirmID, dialog.PromptOptions{Prompt: dialog.Text("Do you want to give your age?")})
}

func askAge(ctx context.Context, step *dialog.Step) (dialog.Result, error) {
	yes, err := dialog.Answer[bool](step)
	if err != nil {
		return dialog.Result{}, err
	}
	if !yes {
		return step.Next(ctx, noAge)
	}
	return step.Prompt(ctx, numberID, dialog.PromptOptions{
		Prompt:      dialog.Text("Please enter your age."),
		RetryPrompt: dialog.Text("The value entered must be greater than 0 and less than 150."),
	})
}

func plausibleAge(_ context.Context, attempt *dialog.Attempt[float64]) (bool, error) {
	return attempt.OK && attempt.Value > 0 && attempt.Value < 150, nil
}

func askPicture(ctx context.Context, step *dialog.Step) (dialog.Result, error) {
	age, err := dialog.Answer[float64](step)
	if err != nil {
		return dialog.Result{}, err
	}
	if err := ageValue.Set(step, age); err != nil {
		return dialog.Result{}, err
	}
	text := "No age given."
	if age != noAge {
		text = "I have your age as " + number(age) + "."
	}
	if _, err := step.Turn.SendText(ctx, text); err != nil {
		return dialog.Result{}, err
	}
	if step.Turn.Activity.ChannelID == "msteams" {
		// A message in Teams has attachments of other kinds.
		if _, err := step.Turn.SendText(ctx, "Skipping attachment prompt in Teams channel..."); err != nil {
			return dialog.Result{}, err
		}
		return step.Next(ctx, nil)
	}
	return step.Prompt(ctx, attachmentID, dialog.PromptOptions{
		Prompt:      dialog.Text("Please attach a profile picture (or type any message to skip)."),
		RetryPrompt: dialog.Text("The attachment must be a jpeg/png image file."),
	})
}

// keepPictures drops attachments that are no pictures, of which one must stay.
// No attachment at all is accepted too.
func keepPictures(ctx context.Context, attempt *dialog.Attempt[[]schema.Attachment]) (bool, error) {
	if !attempt.OK {
		_, err := attempt.Turn.SendText(ctx, "No attachments received. Proceeding without a profile picture...")
		return true, err
	}
	var pictures []schema.Attachment
	for _, a := range attempt.Value {
		if a.ContentType == "image/jpeg" || a.ContentType == "image/png" {
			pictures = append(pictures, a)
		}
	}
	attempt.Value = pictures
	return len(pictures) > 0, nil
}

// showSummary stores the profile and shows it.
func (b *Bot) showSummary(ctx context.Context, step *dialog.Step) (dialog.Result, error) {
	pictures, err := dialog.Answer[[]schema.Attachment](step)
	if err != nil {
		return dialog.Result{}, err
	}
	var p Profile
	if len(pictures) > 0 {
		p.Picture = &pictures[0]
		if err := pictureValue.Set(step, p.Picture); err != nil {
			return dialog.Result{}, err
		}
	}
	if p.Transport, err = transportValue.Get(step); err != nil {
		return dialog.Result{}, err
	}
	if p.Name, err = nameValue.Get(step); err != nil {
		return dialog.Result{}, err
	}
	if p.Age, err = ageValue.Get(step); err != nil {
		return dialog.Result{}, err
	}
	if err := b.profile.Set(ctx, p); err != nil {
		return dialog.Result{}, err
	}

	text := fmt.Sprintf("I have your mode of transport as %s and your name as %s", p.Transport, p.Name)
	if p.Age != noAge {
		text += " and your age as " + number(p.Age)
	}
	if _, err := step.Turn.SendText(ctx, text+"."); err != nil {
		return dialog.Result{}, err
	}
	if p.Picture != nil {
		_, err := step.Turn.Send(ctx, schema.Activity{
			AttachmentLayout: schema.LIST,
			Attachments:      []schema.Attachment{*p.Picture},
			Text:             "This is your profile picture.",
		})
		if err != nil {
			// The channel may not take the picture; it takes a text.
			if _, err := step.Turn.SendText(ctx, "A profile picture was saved but could not be displayed here."); err != nil {
				return dialog.Result{}, err
			}
		}
	}
	return step.Prompt(ctx, confirmID, dialog.PromptOptions{Prompt: dialog.Text("Is this okay?")})
}

func sayGoodbye(ctx context.Context, step *dialog.Step) (dialog.Result, error) {
	ok, err := dialog.Answer[bool](step)
	if err != nil {
		return dialog.Result{}, err
	}
	text := "Thanks. Your profile will not be kept."
	if ok {
		text = "Thanks. Your profile saved successfully."
	}
	if _, err := step.Turn.SendText(ctx, text); err != nil {
		return dialog.Result{}, err
	}
	return step.End(ctx, nil)
}

// number writes n as JavaScript does, which is what encoding/json does.
func number(n float64) string {
	text, _ := json.Marshal(n) // no recognised number is infinite
	return string(text)
}

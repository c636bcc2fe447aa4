package connector

import (
	"fmt"
	"strings"
)

// A Cloud is where the Bot Connector and Entra ID of one Azure cloud are
// found, and what their tokens say. [PublicCloud], [USGovernmentCloud] and
// [ChinaCloud] return the known ones.
type Cloud struct {
	// Login is the address of Entra ID, such as
	// https://login.microsoftonline.com.
	Login string

	// Tenant is where multi-tenant bots get their tokens.
	Tenant string

	// Scope is what the bot's tokens are for.
	Scope string

	// Issuer is who issues the tokens of channels, and Metadata the address
	// of the OpenID document that leads to the keys they are signed with.
	Issuer, Metadata string

	// EntraIssuers are who issues tokens of Entra ID, such as the Bot
	// Framework Emulator's, with {tenant} for the tenant, and EntraMetadata
	// the address of their OpenID document.
	EntraIssuers  []string
	EntraMetadata string

	// EmulatorTenant is the tenant whose tokens a multi-tenant bot accepts.
	EmulatorTenant string
}

// PublicCloud returns the worldwide cloud of Azure.
func PublicCloud() Cloud {
	return Cloud{
		Login:          "https://login.microsoftonline.com",
		Tenant:         "botframework.com",
		Scope:          "https://api.botframework.com/.default",
		Issuer:         "https://api.botframework.com",
		Metadata:       "https://login.botframework.com/v1/.well-known/openidconfiguration",
		EntraIssuers:   []string{"https://sts.windows.net/{tenant}/", "https://login.microsoftonline.com/{tenant}/v2.0"},
		EntraMetadata:  "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration",
		EmulatorTenant: "d6d49420-f39b-4df7-a1dc-d59a935871db",
	}
}

// USGovernmentCloud returns Azure Government.
func USGovernmentCloud() Cloud {
	return Cloud{
		Login:          "https://login.microsoftonline.us",
		Tenant:         "MicrosoftServices.onmicrosoft.us",
		Scope:          "https://api.botframework.us/.default",
		Issuer:         "https://api.botframework.us",
		Metadata:       "https://login.botframework.azure.us/v1/.well-known/openidconfiguration",
		EntraIssuers:   []string{"https://sts.windows.net/{tenant}/", "https://login.microsoftonline.us/{tenant}/", "https://login.microsoftonline.us/{tenant}/v2.0"},
		EntraMetadata:  "https://login.microsoftonline.us/cab8a31a-1906-4287-a0d8-4eef66b95f6e/v2.0/.well-known/openid-configuration",
		EmulatorTenant: "cab8a31a-1906-4287-a0d8-4eef66b95f6e",
	}
}

// ChinaCloud returns Azure operated by 21Vianet.
func ChinaCloud() Cloud {
	return Cloud{
		Login:          "https://login.partner.microsoftonline.cn",
		Tenant:         "microsoftservices.partner.onmschina.cn",
		Scope:          "https://api.botframework.azure.cn/.default",
		Issuer:         "https://api.botframework.azure.cn",
		Metadata:       "https://login.botframework.azure.cn/v1/.well-known/openidconfiguration",
		EntraIssuers:   []string{"https://sts.chinacloudapi.cn/{tenant}/", "https://login.partner.microsoftonline.cn/{tenant}/v2.0"},
		EntraMetadata:  "https://login.partner.microsoftonline.cn/a55a4d5b-9241-49b1-b4ff-befa8db00269/v2.0/.well-known/openid-configuration",
		EmulatorTenant: "a55a4d5b-9241-49b1-b4ff-befa8db00269",
	}
}

// CloudFor returns the cloud of a ChannelService, the setting by which the
// official SDKs choose one: https://botframework.azure.us,
// https://botframework.azure.cn, or nothing for the public cloud.
func CloudFor(channelService string) (Cloud, error) {
	switch strings.ToLower(strings.TrimSuffix(channelService, "/")) {
	case "":
		return PublicCloud(), nil
	case "https://botframework.azure.us":
		return USGovernmentCloud(), nil
	case "https://botframework.azure.cn":
		return ChinaCloud(), nil
	}
	return Cloud{}, fmt.Errorf("connector: channel service %q: must be empty, https://botframework.azure.us or https://botframework.azure.cn", channelService)
}

// issuers returns the Entra ID issuers of a tenant.
func (c *Cloud) issuers(tenant string) []string {
	if tenant == "" {
		return nil
	}
	issuers := make([]string, len(c.EntraIssuers))
	for i, template := range c.EntraIssuers {
		issuers[i] = strings.ReplaceAll(template, "{tenant}", tenant)
	}
	return issuers
}

// callerID returns how Bot Framework bots call the channels of the cloud; "" if
// it is none of those that have a name.
func (c *Cloud) callerID() string {
	switch c.Issuer {
	case PublicCloud().Issuer:
		return "urn:botframework:azure"
	case USGovernmentCloud().Issuer:
		return "urn:botframework:azureusgov"
	}
	return ""
}

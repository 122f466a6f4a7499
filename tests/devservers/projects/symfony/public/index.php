<?php
// A small Symfony app of Debian's packages: a page, a form login with its CSRF token, and what is behind it.
use Symfony\Bundle\FrameworkBundle\FrameworkBundle;
use Symfony\Bundle\FrameworkBundle\Kernel\MicroKernelTrait;
use Symfony\Bundle\SecurityBundle\SecurityBundle;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Kernel as BaseKernel;
use Symfony\Component\Routing\Loader\Configurator\RoutingConfigurator;
use Symfony\Component\Security\Core\User\InMemoryUser;
use Symfony\Component\Security\Csrf\CsrfTokenManagerInterface;

require_once 'Symfony/Bundle/FrameworkBundle/autoload.php';
require_once 'Symfony/Bundle/SecurityBundle/autoload.php';
require_once 'Symfony/Component/Security/Csrf/autoload.php';

class Kernel extends BaseKernel
{
    use MicroKernelTrait;

    public function getProjectDir(): string
    {
        return \dirname(__DIR__);
    }

    public function registerBundles(): iterable
    {
        return [new FrameworkBundle(), new SecurityBundle()];
    }

    protected function configureContainer(ContainerConfigurator $container): void
    {
        $container->extension('framework', [
            'secret' => 'only a test',
            'csrf_protection' => true,
            'session' => [
                'storage_factory_id' => 'session.storage.factory.native',
                'handler_id' => null,
                'cookie_secure' => 'auto',
                'cookie_samesite' => 'lax',
            ],
        ]);
        $container->extension('security', [
            'enable_authenticator_manager' => true,
            'password_hashers' => [InMemoryUser::class => 'plaintext'],
            'providers' => ['all' => ['memory' => ['users' => [
                'alice' => ['password' => 'correct horse', 'roles' => ['ROLE_USER']],
            ]]]],
            'firewalls' => ['main' => [
                'provider' => 'all',
                'form_login' => ['login_path' => 'login', 'check_path' => 'login', 'enable_csrf' => true],
                'logout' => ['path' => 'logout'],
            ]],
            'access_control' => [['path' => '^/members', 'roles' => 'ROLE_USER']],
        ]);
    }

    protected function configureRoutes(RoutingConfigurator $routes): void
    {
        $routes->add('home', '/')->controller([$this, 'home']);
        $routes->add('members', '/members')->controller([$this, 'members']);
        $routes->add('login', '/login')->controller([$this, 'login']);
        $routes->add('logout', '/logout');
    }

    public function home(): Response
    {
        return new Response('<h1>Get started</h1>');
    }

    public function members(): Response
    {
        return new Response('<h1>For members</h1><a href="/logout">Log out</a>');
    }

    public function login(CsrfTokenManagerInterface $tokens): Response
    {
        $token = htmlspecialchars($tokens->getToken('authenticate')->getValue());

        return new Response(<<<HTML
            <form method="post"><input name="_username"><input name="_password" type="password">
            <input name="_csrf_token" type="hidden" value="$token"><button>Log in</button></form>
            HTML);
    }
}

$kernel = new Kernel('dev', true);
$request = Request::createFromGlobals();
$response = $kernel->handle($request);
$response->send();
$kernel->terminate($request, $response);
